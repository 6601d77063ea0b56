"""OT in and out: register codec, read planner, transports, write gate, journal, device driver, virtual PLC."""
