"""Production rules: base stock, price and clock rules; what runs when there is no plan."""

from ext.abi cimport *
from ext.registry cimport Kind, register

cdef enum:
    STOCK, SALES, PRICE, RANK, SOC, PRODUCED, LINE_RUNNING

cdef enum:
    RATE, LINE_ON, BATTERY, MODE, WHY, STOCK_EST

cdef enum:
    REORDER, FILL_TO, RATE_MAX, CHEAPEST, LEAD, MIN_RUN, MIN_STOP, CHARGE_BELOW, DISCHARGE_ABOVE, BATTERY_MAX
    SOC_LO, SOC_HI, CHARGE_POWER, AVOID

cdef enum:
    S_STARTED, S_STOCK, S_STOCK_SEEN, S_SALES, S_SALES_SEEN, S_LINE, S_SINCE, S_FULL, S_OUT, S_RATE

cdef double MOST = 1e12                  # t: keeps an integrated stock finite


cdef bint _avoided(Block* b, double local) noexcept nogil:
    cdef int i = AVOID
    cdef double a, z
    while i + 1 < b.n_par:
        a, z = b.par[i], b.par[i + 1]
        if (a <= local < z) if a <= z else (local >= a or local < z):
            return True
        i += 2
    return False


cdef bint _sales(Block* b, Scan* s) noexcept nogil:
    # True: substituted
    if ok(b, s, SALES):
        b.st[S_SALES] = max(val(b, s, SALES), 0.0)
        b.st[S_SALES_SEEN] = 1.0
        return stat(b, s, SALES) < Q_GOOD
    return True


cdef bint _stock(Block* b, Scan* s) noexcept nogil:
    # True: substituted. A stock that is not fresh is carried on from the last one by what was made and sold.
    cdef double made
    cdef uint8_t q = stat(b, s, STOCK)
    if ok(b, s, STOCK) and (b.st[S_STOCK_SEEN] == 0.0 or (q & 0xFC) != Q_UNC_LAST):
        b.st[S_STOCK] = val(b, s, STOCK)
        b.st[S_STOCK_SEEN] = 1.0
        return q < Q_GOOD
    if b.st[S_STOCK_SEEN] != 0.0:
        made = val(b, s, PRODUCED) if ok(b, s, PRODUCED) else b.st[S_RATE] * b.st[S_LINE]
        b.st[S_STOCK] = clamp(b.st[S_STOCK] + (made - b.st[S_SALES]) * s.dt / 3600.0, 0.0, MOST)
    return True


cdef bint _elsewhere(Block* b, Scan* s) noexcept nogil:
    # another rung decides about the line now
    cdef uint8_t q = s.bq[b.out[LINE_ON]] & 0xFC
    return not_invited(b, s, LINE_ON) or (s.bq[b.out[LINE_ON]] != 0 and q == QC_NOT_SELECTED)


cdef void _line(Block* b, Scan* s, bint elsewhere) noexcept nogil:
    # the state the line is in, and since when
    cdef double line = b.st[S_LINE]
    b.st[S_SINCE] += s.dt
    if b.st[S_STARTED] == 0.0 or s.fresh or elsewhere:
        if ok(b, s, LINE_RUNNING):
            line = 1.0 if val(b, s, LINE_RUNNING) > 0.5 else 0.0
        elif answered(b, s, LINE_ON):
            line = 1.0 if s.bv[b.out[LINE_ON]] > 0.5 else 0.0
    if line != b.st[S_LINE] or b.st[S_STARTED] == 0.0:
        b.st[S_LINE] = line
        b.st[S_SINCE] = 0.0


cdef int _want(Block* b, Scan* s, bint* go) noexcept nogil:
    # the rules, strongest first; the reason goes with the decision
    cdef double stock = b.st[S_STOCK]
    cdef double one_run = b.par[RATE_MAX] * b.par[MIN_RUN] / 3600.0
    cdef bint avoided = _avoided(b, s.local), low = stock < b.par[REORDER]
    if stock >= b.par[FILL_TO]:
        b.st[S_FULL] = 1.0
    elif low or stock <= b.par[FILL_TO] - one_run:
        b.st[S_FULL] = 0.0
    go[0] = False
    if b.st[S_FULL] != 0.0:
        return WHY_STOCK_FULL
    if avoided and not stock < 0.5 * b.par[REORDER]:
        return WHY_AVOID_HOURS
    if (ok(b, s, RANK) and (not wired(b, PRICE) or ok(b, s, PRICE)) and not low
            and not val(b, s, RANK) < b.par[CHEAPEST] / 24.0):
        return WHY_PRICE
    go[0] = True
    return WHY_STOCK_LOW if low else WHY_NORMAL


cdef int _decide(Block* b, Scan* s, bint elsewhere) noexcept nogil:
    # the wish, held back by minimum run and stop; S_LINE moves only while this block is in charge
    cdef bint go = False
    cdef int why = _want(b, s, &go)
    cdef double line = b.st[S_LINE], want = 1.0 if go else 0.0
    if want != line:
        if b.st[S_SINCE] < (b.par[MIN_RUN] if line != 0.0 else b.par[MIN_STOP]):
            why = WHY_MIN_TIME
        else:
            line = want
            if not elsewhere:
                b.st[S_LINE] = line
                b.st[S_SINCE] = 0.0
    b.st[S_OUT] = line
    return why


cdef double _battery(Block* b, Scan* s) noexcept nogil:
    cdef bint soc_known = not wired(b, SOC) or ok(b, s, SOC)
    cdef double price
    if not (ok(b, s, PRICE) and soc_known):
        return 0.0
    price = val(b, s, PRICE)
    if price < b.par[CHARGE_BELOW] and (not wired(b, SOC) or val(b, s, SOC) < b.par[SOC_HI]):
        return -min(b.par[CHARGE_POWER], b.par[BATTERY_MAX])
    if price > b.par[DISCHARGE_ABOVE] and (not wired(b, SOC) or val(b, s, SOC) > b.par[SOC_LO]):
        return b.par[BATTERY_MAX]
    return 0.0


cdef inline bint _doubtful(Block* b, Scan* s, int i) noexcept nogil:
    # wired, but not good
    return wired(b, i) and not (ok(b, s, i) and stat(b, s, i) >= Q_GOOD)


cdef int _step(Block* b, Scan* s) except -1 nogil:
    cdef bint substituted = _sales(b, s), elsewhere = _elsewhere(b, s)
    cdef int why, mode = MODE_AUTO
    cdef uint8_t q
    cdef double wish
    substituted = _stock(b, s) or substituted
    substituted = (_doubtful(b, s, PRICE) or _doubtful(b, s, RANK) or _doubtful(b, s, SOC) or substituted)
    q = <uint8_t>(Q_UNC_SUBST if substituted else Q_GOOD)
    _line(b, s, elsewhere)
    b.st[S_STARTED] = 1.0
    if b.st[S_STOCK_SEEN] == 0.0:
        # no stock ever: nothing to decide from. Bad status hands over to the next rung.
        mode, why, q = MODE_INITIALISING, WHY_MEASURE_BAD, <uint8_t>Q_BAD_NO_COMMS
        b.st[S_OUT] = b.st[S_LINE]
        b.st[S_RATE] = 0.0
    else:
        why = _decide(b, s, elsewhere)
        wish = b.st[S_SALES] + (b.par[FILL_TO] - b.st[S_STOCK]) / b.par[LEAD]
        b.st[S_RATE] = clamp(wish, 0.0, b.par[RATE_MAX]) if b.st[S_OUT] != 0.0 and finite(wish) else 0.0
        if substituted and why == WHY_NORMAL:
            why = WHY_SUBSTITUTE
    put(b, s, RATE, b.st[S_RATE], q)
    put(b, s, LINE_ON, b.st[S_OUT], q)
    put(b, s, BATTERY, _battery(b, s), <uint8_t>(Q_UNC_SUBST if substituted else Q_GOOD))
    put(b, s, MODE, mode, Q_GOOD)
    put(b, s, WHY, why, Q_GOOD)
    put(b, s, STOCK_EST, b.st[S_STOCK], q)
    return 0


cdef int _back(Block* b, Scan* s) except -1 nogil:
    return 0                             # reads measurements only: nobody commands it


register(Kind(
    "production_rules",
    inputs=("stock", "sales", "price?", "rank?", "soc?", "produced?", "line_running?"),
    outputs=("rate", "line_on", "bat_power", "mode", "why", "stock_est"),
    params=(("reorder_below", None), ("fill_to", None), ("rate", None), ("cheapest_hours", 24.0), ("lead_time", 24.0),
            ("min_run", 0.0), ("min_stop", 0.0), ("charge_below", -1e9), ("discharge_above", 1e9),
            ("bat_power_max", 0.0), ("soc_lo", 0.0), ("soc_hi", 100.0), ("charge_power", 0.0)),
    var_param="avoid",
    state=("started", "stock", "stock_seen", "sales", "sales_seen", "line", "since", "full", "out", "rate"),
    doc="""Line and battery by rule: stock, price rank, clock.

    stock, reorder_below, fill_to [t]; sales, produced, rate [t/h]; lead_time [h]; min_run, min_stop [s]; price,
    charge_below, discharge_above in one unit; soc, soc_lo, soc_hi [%]; powers [kW], + = discharge; rank = share 0..1
    of the local day's hours that are cheaper than now; avoid: pairs from, to [s since local midnight], may wrap.

    Run, first rule that holds:
      stock >= fill_to: no, until there is room for one minimum run again    why: stock full
      avoided hour and stock >= reorder_below / 2: no                        why: avoided hours
      stock < reorder_below: yes, whatever the price                         why: stock low
      rank >= cheapest_hours / 24: no                                        why: price
      else yes. min_run and min_stop hold every change back; no rank or no price: the clock alone.
    rate = clamp(sales + (fill_to - stock) / lead_time, 0, rate) when running, else 0.
    Battery: price < charge_below and soc < soc_hi: -charge_power; price > discharge_above and soc > soc_lo:
    bat_power_max; else 0; no usable price or soc: 0.

    A stock that is bad or not fresh goes on from the last one by produced - sales (produced bad: the own rate). No
    stock ever: outputs bad. Any wired input bad or uncertain: all outputs uncertain. While another rung decides, the
    real state of the line is adopted.

    Source: Hopp & Spearman, Factory Physics (base stock, reorder point); Silver, Pyke & Thomas, Inventory and Production
    Management in Supply Chains (2016).""",
), _step, _back)
