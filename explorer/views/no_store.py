"""stub"""
import streamlit as st
def render() -> None:
    st.write("no store")
