"""The wire: frames, codec and sans-I/O connections. Knows neither the machine nor a socket."""
