"""How actors on different nodes talk: envelopes over Thrift, or over an in-memory twin.

One interface (`khala.bus.interface.Bus`), two implementations (`khala.bus.bus.ThriftBus`,
`khala.bus.loopback`), and the RPC client that gateways use. No generated code leaves this package.
"""
