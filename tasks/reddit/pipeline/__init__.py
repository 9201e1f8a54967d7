"""From dumps of comments to a data set of personas. The modules in the order of the data:

dump       files -> blocks of lines
comments   lines -> comments without deleted ones, bots, markup and names
names      which words are names of authors (lexicon: which are in the dictionary, or can be verbs)
tokens     texts -> tokens, words and sentences
sentences  which sentences may stand in a persona (lexicon, tagger and classifier help)
stage      blocks -> a table of comments without names (hashes: numbers for names and ids)
workers    all blocks of all dumps, in several processes
storage    tables on disk that can be read part by part
plan       comments -> pairs, personas and examples, as expressions
duck       the plan on this machine; spark: the plan on a cluster
build      all of this; manifest: what a data set says about itself
export     a data set -> JSON lines
"""
