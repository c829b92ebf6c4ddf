"""Inputs as nobody should write them, by seed; `run` reads them within limits.

A kind of input is a class in a module of its own:

    Kind(folder)            writes what is valid, into a folder of its own
    .fresh()                the valid content, to be changed
    .generate(rng)          a content that is changed
    .save(content)          writes it
    .uses()                 calls of the product; a number but 0 is a refusal
    .lists_faults           whether a refusal may be a list, a line for each fault
    .kept                   folders that a refusal must leave as they were
    FOUND                   name -> function that makes a case out of `.fresh()`
"""
