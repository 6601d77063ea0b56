"""What the site process believes of the image it reads."""

from array import array

import pytest

from ctrl.app.site_process import SiteService
from ctrl.clock import VirtualClock
from ctrl.quality import BAD_NO_COMMS_LAST, BAD_NOT_CONNECTED


@pytest.mark.parametrize(("status", "frozen"), [(0x80, BAD_NO_COMMS_LAST), (0x44, BAD_NO_COMMS_LAST), (0x08, 0x08)])
def test_an_image_that_control_does_not_renew_is_not_believed(status, frozen):
    clock = VirtualClock(0.0)
    site = object.__new__(SiteService)  # its wires and files are no part of this
    site.clock, site.slots, site._last, site._frozen_ns = clock, {"soc": 1}, None, 5_000_000_000
    assert site.read("soc") == (0.0, BAD_NOT_CONNECTED)
    site._last = (7, clock.boot_ns(), array("d", (1.0, 62.0)), bytes((0x80, status)), array("q", (0, 0)))
    clock.advance(5.0)
    assert site.read("soc") == (62.0, status)
    clock.advance(0.001)
    assert site.read("soc") == (62.0, frozen)
