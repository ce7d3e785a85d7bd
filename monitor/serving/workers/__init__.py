"""Several processes behind one port: what starts them (`supervisor`), which of them this is (`slots`), how they speak (`siblings`)."""
