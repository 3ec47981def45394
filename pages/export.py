"""Export: what will be written, predictions from which probability on, and the files."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from labeler import grids, reader, results, ui
from labeler.export import ExportReport, Format, How

FORMATS: tuple[Format, ...] = ("csv", "jsonl", "folders")
HOWS: tuple[How, ...] = ("copy", "link", "refs")
SMALL_BYTES = 64 << 20  # an export up to this size can be downloaded from the page

(ws, session), words = ui.current(), reader.words()
called = words.part("export.").__getitem__  # a format, or what folders hold, is called


def what() -> float | None:
    """Draw what will be written; return from which probability on predictions are."""
    st.header(words("export.what"))
    wanted = st.toggle(words("export.predictions"))
    least = st.slider(words("export.probability"), 0.5, 1.0, 0.9, 0.01) if wanted else None
    if wanted:
        st.caption(ui.caveat(ws, session) + words("export.marked"))
    with st.container(horizontal=True, key="figures"):
        for answer, (people, predicted) in results.export_counts(ws, session, least).items():
            name = ui.plain(grids.look(session, answer)[0])
            more = words.count("export.predicted", predicted) if predicted else None
            st.metric(name, f"{people:,}", more, "off", delta_arrow="off")
    return least


def how(least: float | None) -> None:
    """Draw the formats, and write when told to."""
    st.header(words("export.how"))
    kind = st.segmented_control(called("format"), FORMATS, default="csv", format_func=called, required=True)
    hold: How = "copy"
    if kind == "folders":
        hold = st.selectbox(words("export.hold"), HOWS, format_func=called, width=260)
    if st.button(words("export.go"), type="primary", icon=":material/save_alt:"):
        out = ws.folder / "exports" / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-{kind}"
        with st.spinner(words("export.writing")), ui.errors():
            st.session_state["exported"] = results.export(
                ws, session, format=kind, out=out, predicted_from=least, how=hold
            )


def done(report: ExportReport) -> None:
    """Draw where the files are, and offer them as one zip if that is small."""
    st.header(words("export.written"))
    counts = {"people": report.person, "predicted": report.predicted, "events": report.events}
    st.caption(words("export.done", **{k: words.count(f"export.done.{k}", n) for k, n in counts.items()}))
    st.code(str(report.out), language=None, wrap_lines=True)
    if report.missing:
        st.warning(words.count("export.gone", len(report.missing)))
    files = [path for path in report.out.rglob("*") if path.is_file() and not path.is_symlink()]
    if sum(path.stat().st_size for path in files) <= SMALL_BYTES:
        label, name = words("export.zip"), f"{report.out.name}.zip"
        st.download_button(label, lambda: packed(report.out, files), name, on_click="ignore")


def packed(folder: Path, files: list[Path]) -> bytes:
    """Return files as one zip."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as z:
        for path in sorted(files):
            z.write(path, path.relative_to(folder))
    return buffer.getvalue()


st.title(words("nav.export"))
with ui.card("what"):
    least = what()
with ui.card("how"):
    how(least)
if report := st.session_state.get("exported"):
    with ui.card("done"):
        done(report)
