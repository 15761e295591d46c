"""What every service process needs, whatever it does: ids, logs, breakers, duties, failpoints, start and stop."""
