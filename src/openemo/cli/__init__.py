"""The command line: one file per group of commands. Heavy libraries load inside the commands."""
