"""`python -m nats_source`."""

from nats_source.main import main

if __name__ == "__main__":
    main()
