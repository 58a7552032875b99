"""Moving opaque bytes between peers: an in-process bus and MQTT, through one small seam.

Every adapter passes the contract test of `tests/transport/contract.py`. Nothing here knows what
the bytes mean.
"""
