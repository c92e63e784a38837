"""``python -m qa_service``: the same as the command ``qa-service``."""

from qa_service.cli import main

if __name__ == "__main__":
    main()
