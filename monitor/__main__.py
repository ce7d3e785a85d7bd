"""`python -m monitor` is the command `model-monitor`."""

from monitor.app import main

if __name__ == "__main__":
    main()
