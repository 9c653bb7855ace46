# The door for keys has no Python names; other extensions reach it by cimport.
