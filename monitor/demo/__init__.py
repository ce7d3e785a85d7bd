"""The demo: the whole system on the flights that left New York in 2013, and a model that learned winter.

It drives the product from outside (command line, HTTP, files), as a user would; nothing in the product imports it.
"""
