"""The commands, a module each: what it takes, what it wires together, what it prints. `monitor.app` imports the one that runs."""
