"""Reference profiles: what drift and quality compare with, counted once from files of rows and kept as a small readable file.

`profile` is the value, `file` its form on disk (`document` says what it holds), `paths` where it lies, `summary` what it says to people.
`building` makes one: `sources` reads files, `rows` turns them into columns, `choosing` picks edges and categories.
"""
