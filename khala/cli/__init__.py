"""The `khala` command. Each subcommand's module is imported only when that subcommand is used."""
