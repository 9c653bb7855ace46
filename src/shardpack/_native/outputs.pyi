from typing import final

@final
class Outputs:
    def __new__(cls, most: int = ...) -> Outputs: ...
