"""stub"""
from explorer.components.frame import page, question
def render() -> None:
    page("about", ("run",)); question("What the numbers mean")
