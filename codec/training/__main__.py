"""`python -m codec.training`: everything, from photographs to weights."""

from codec.training.everything import main

if __name__ == "__main__":
    main()
