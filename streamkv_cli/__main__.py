"""`python -m streamkv_cli` and the `streamkv` command."""

from streamkv_cli.app import main

if __name__ == "__main__":
    main()
