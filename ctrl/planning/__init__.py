"""Economic dispatch: what to run, charge and buy over the next two days, as offers that expire."""
