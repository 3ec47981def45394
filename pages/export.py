"""Export: what will be written, predictions from which probability on, and the files."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from labeler import grids, results, ui
from labeler.export import ExportReport, Format, How

FORMATS: dict[Format, str] = {"csv": "CSV", "jsonl": "JSON lines", "folders": "Folders"}
HOWS: dict[How, str] = {"copy": "copies of the images", "link": "links to them", "refs": "a list of them"}
SMALL_BYTES = 64 << 20  # an export up to this size can be downloaded from the page

ws, session = ui.current()


def what() -> float | None:
    """Draw what will be written; return from which probability on predictions are."""
    st.header("What")
    wanted = st.toggle("Predictions too, where nobody was asked")
    least = st.slider("Only those with a probability from", 0.5, 1.0, 0.9, 0.01) if wanted else None
    if wanted:
        st.caption(ui.caveat(ws, session) + " In every file they are marked as predicted.")
    with st.container(horizontal=True, key="figures"):
        for answer, (people, predicted) in results.export_counts(ws, session, least).items():
            name = ui.plain(grids.look(session, answer)[0])
            more = f"{predicted:,} predicted" if predicted else None
            st.metric(name, f"{people:,}", more, "off", delta_arrow="off")
    return least


def how(least: float | None) -> None:
    """Draw the formats, and write when told to."""
    st.header("How")
    kind = st.segmented_control(
        "Format", list(FORMATS), default="csv", format_func=lambda f: FORMATS[f], required=True
    )
    hold: How = "copy"
    if kind == "folders":
        hold = st.selectbox("The folders hold", list(HOWS), format_func=lambda h: HOWS[h], width=260)
    if st.button("Write the files", type="primary", icon=":material/save_alt:"):
        out = ws.folder / "exports" / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}-{kind}"
        with st.spinner("Writing …"), ui.errors():
            st.session_state["exported"] = results.export(
                ws, session, format=kind, out=out, predicted_from=least, how=hold
            )


def done(report: ExportReport) -> None:
    """Draw where the files are, and offer them as one zip if that is small."""
    st.header("Written")
    st.caption(f"{report.person:,} answers, {report.predicted:,} predictions, {report.events:,} events:")
    st.code(str(report.out), language=None, wrap_lines=True)
    if report.missing:
        st.warning(f"{len(report.missing):,} files are gone and could not be written.")
    files = [path for path in report.out.rglob("*") if path.is_file() and not path.is_symlink()]
    if sum(path.stat().st_size for path in files) <= SMALL_BYTES:
        name = f"{report.out.name}.zip"
        st.download_button("Download as zip", lambda: packed(report.out, files), name, on_click="ignore")


def packed(folder: Path, files: list[Path]) -> bytes:
    """Return files as one zip."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as z:
        for path in sorted(files):
            z.write(path, path.relative_to(folder))
    return buffer.getvalue()


st.title("Export")
with ui.card("what"):
    least = what()
with ui.card("how"):
    how(least)
if report := st.session_state.get("exported"):
    with ui.card("done"):
        done(report)
