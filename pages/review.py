"""Review: what people answered and what the program predicts, to be looked through and put right."""

from dataclasses import replace

import streamlit as st

from labeler import grids, loop, reader, results, ui
from labeler.domain import UNSURE

PAGE = 60
SOURCES: tuple[results.Source, ...] = ("person", "predicted")
ORDERS: tuple[results.Order, ...] = ("newest", "oldest", "surest", "doubtful")

(ws, session), words = ui.current(), reader.words()


def act(name: str, items: list[int]) -> None:
    """Put one answer right, take it back, or search on from a tile."""
    if name == "like":
        st.session_state["go"] = items[0]
    elif name == "back":
        results.take_back(ws, session, loop.owner(ws), items)
    else:
        loop.correct(ws, session, loop.owner(ws), items[0], name.removeprefix("answer:"))
    ui.stir(session)


def name_of(choice: str) -> str:
    """Return what a source or an order is called."""
    return words(f"review.{choice}")


def tile(g: results.GridItem) -> grids.Tile:
    """Return an answer or a prediction as a tile; with two labels the other one is a click away."""
    sure = "" if g.p is None else "> 0.99" if g.p > 0.99 else f"{g.p:.2f}"  # 1.00 would promise too much
    notes = [words("review.predicted.p", p=sure)] if g.source == "predicted" else []
    notes += [words.count("review.copies", g.copies)] if g.copies else []
    quick = []
    if len(session.labels) == 2 and g.answer != UNSURE:
        quick = [
            replace(a, icon="→")
            for a in grids.answers(session)
            if a.act not in (f"answer:{g.answer}", f"answer:{UNSURE}")
        ]
    return grids.Tile(g.item, g.path, g.answer, g.source == "predicted", " ".join(notes), quick)


if (go := st.session_state.pop("go", None)) is not None:
    st.switch_page("search.py", query_params={"item": str(go)})
st.title(words("nav.review"))
with ui.card("filter"), st.container(horizontal=True, vertical_alignment="bottom"):
    source = st.segmented_control(
        words("review.show"), SOURCES, default="person", format_func=name_of, required=True
    )
    predicted = source == "predicted"
    answers = [*session.labels] if predicted else [*session.labels, UNSURE]
    label = st.pills(
        words("review.answer"), answers, format_func=lambda a: ui.plain(grids.look(session, a)[0])
    )
    orders: list[results.Order] = ["surest", "doubtful"] if predicted else list(ORDERS)
    order = st.selectbox(words("review.order"), orders, format_func=name_of, width=220)
    lowest = st.slider(words("review.probability"), 0.0, 1.0, 0.0, 0.05, width=220) if predicted else 0.0
if predicted:
    st.caption(ui.caveat(ws, session))
top = grids.page_top("review", (session.id, source, label, order, lowest))
page = results.labels_grid(
    ws, session, label=label, source=source, lowest_p=lowest, order=order, offset=top, limit=PAGE
)
acts = [
    *grids.answers(session),
    *([] if predicted else [grids.Act("back", words("grid.act.back"), icon="↺", stay=True)]),
]
if page.items:
    acts.append(grids.Act("like", words("grid.act.more"), icon="≈"))
    grids.grid(
        ws, session, [tile(g) for g in page.items], key="labels", label=name_of(source), on_act=act, acts=acts
    )
    grids.pager("review", top, PAGE, page.total)
else:
    st.info(words("review.empty"))
