# What is exported has no Python names; arrow reaches it by cimport.
