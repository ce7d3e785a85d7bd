"""`inference.GRPCInferenceService`: the Open Inference Protocol over gRPC, in the event loop that serves HTTP too.

`server.GrpcServer` is what a composition root starts and stops; `port.hold` keeps a port for several processes that are going to share it.
"""
