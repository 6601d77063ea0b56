"""IT in: prices, demand, orders and forecasts, from files and services, as validated curves."""
