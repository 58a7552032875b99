"""Devices that hold private data learn together over MQTT, with no central server."""

__version__ = "0.1.0"
