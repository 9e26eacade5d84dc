def all_of(tries): return []
