"""Redis queue, MongoDB store and the process and web parts that the services share."""
