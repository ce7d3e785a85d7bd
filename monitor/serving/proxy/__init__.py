"""A reverse proxy in front of another Open Inference Protocol server: bytes pass as they are, and what they said is tapped.

`proxy` is what a request meets, `forwarding` its way there and back, `connection` and `pool` the sockets to the upstream, `heads` what of a
message's head is the connection's own business. What the bytes mean is read later and elsewhere: `monitor.serving.exchanges`.
"""
