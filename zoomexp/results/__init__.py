"""From run records to tables: statistics, the papers' tables as data, filled tables and their renderings."""
