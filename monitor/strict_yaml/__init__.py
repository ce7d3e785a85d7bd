"""YAML files that people write, read strictly: no key that nobody knows, no value that is silently converted, every complaint in words.

`document` makes plain values of text, `section` is what every mapping in them has in common, `quantities` are the kinds of value that they
hold, and `explaining` says where a file is wrong, what was expected and what to do. The configuration and the model repository share them.
"""
