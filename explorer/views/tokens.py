"""stub"""
from explorer.components.frame import page, question
def render() -> None:
    page("tokens", ("run","token","neuron")); question("Hi")
