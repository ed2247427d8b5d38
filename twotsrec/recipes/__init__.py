"""One file reads like one paper; each takes a configuration and a folder."""
