"""Running commands on an executor: launchers, workspaces, capture, journal, file cache."""
