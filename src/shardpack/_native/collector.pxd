"""A rest for the cycle collector while objects are made by the thousand.

Up to 3.11 it runs as objects are allocated, and would go through all that are there already again and again: awake,
`deaggregate` of 400,000 user records takes 3.6 times as long, and the drop-in for aws_kinesis_agg twice. From 3.12 on
it runs between bytecodes, so that C code that makes objects has it rest anyway, free-threaded Python included, and
nothing is switched. No code of anybody else runs between the two calls, nor does the GIL go: nobody sees the switch, or
moves it meanwhile.
"""


cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030C0000
    #define sp_rest_collector() PyGC_Disable()
    #define sp_wake_collector(was_awake) ((was_awake) ? (void)PyGC_Enable() : (void)0)
    #else
    #define sp_rest_collector() 0
    #define sp_wake_collector(was_awake) ((void)(was_awake))
    #endif
    """
    bint rest_collector "sp_rest_collector"() noexcept  # whether it was awake
    void wake_collector "sp_wake_collector"(bint was_awake) noexcept
