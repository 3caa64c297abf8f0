"""The page's own short texts in English, German and Chinese; the browser's language chooses. Answers are in English."""

import gradio as gr
from gradio.i18n import I18nData

from ferlib.app.html import WELCOME

TITLE = """
# Facial expressions
Choose a photo. Every face in it is found, and a neural network says which expression it takes it for, how sure it is,
and where it looked.
"""
NEIGHBOURS = "## Can the neighbours change the answer?"
TEXTS = (
    (
        TITLE,
        """
# Gesichtsausdrücke
Wähle ein Foto. Jedes Gesicht darin wird gefunden, und ein neuronales Netz sagt, welchen Ausdruck es darin sieht, wie
sicher es ist und wohin es geschaut hat.
""",
        """
# 面部表情
选择一张照片。系统会找出其中的每张脸，由神经网络判断表情、给出把握程度，并显示它看了哪里。
""",
    ),
    (
        WELCOME,
        '<div class="note"><b>Hier erscheint das Ergebnis.</b><br>Zieh ein Foto herein, füge eines ein, nimm eines auf '
        "oder klick auf ein Beispiel: Jedes Gesicht wird umrahmt, nummeriert und erklärt.</div>",
        '<div class="note"><b>结果显示在这里。</b><br>'
        "拖入、粘贴或拍摄一张照片，或点击一个示例：每张脸都会被框出、编号并加以说明。</div>",
    ),
    (NEIGHBOURS, "## Können die Nachbarn die Antwort ändern?", "## 旁边的脸会改变答案吗？"),
    ("A photo", "Ein Foto", "照片"),
    ("Webcam", "Webcam", "摄像头"),
    ("Many photos and videos", "Viele Fotos und Videos", "多张照片和视频"),
    ("Neighbours", "Nachbarn", "旁边的脸"),
    ("About", "Über", "关于"),
    ("Your photo", "Dein Foto", "你的照片"),
    ("Photos and videos", "Fotos und Videos", "照片和视频"),
    ("Look at all of them", "Alle ansehen", "全部查看"),
    ("Stop", "Anhalten", "停止"),
    ("Download as CSV", "Als CSV speichern", "下载 CSV"),
    ("Download as Parquet", "Als Parquet speichern", "下载 Parquet"),
    ("Try another face", "Versuch ein anderes Gesicht", "换一张脸试试"),
    ("Or click an example", "Oder klick auf ein Beispiel", "或点击一个示例"),
    ("Model and explanation", "Modell und Erklärung", "模型与解释"),
    ("Model", "Modell", "模型"),
    ("Explanation", "Erklärung", "解释方法"),
    ("Compare with", "Vergleichen mit", "对比模型"),
    (
        "The whole card: data and rights, test figures, training, limits",
        "Die ganze Karte: Daten und Rechte, Testwerte, Training, Grenzen (englisch)",
        "完整说明：数据与权利、测试结果、训练、局限（英文）",
    ),
)
#: Of the webcam, whose words a script puts into the page.
WEBCAM_TEXTS = (
    ("Start the camera", "Kamera einschalten", "打开摄像头"),
    (
        "The faces in front of it are boxed and named while you move. No picture is kept.",
        "Die Gesichter davor werden umrahmt und benannt, während du dich bewegst. Kein Bild wird behalten.",
        "镜头前的脸会随着你的动作被实时框出并标注表情。不保存任何图像。",
    ),
    ("Stop", "Ausschalten", "停止"),
    ("Show where the model looks", "Zeigen, wohin das Modell schaut", "显示模型看哪里"),
)
LANGUAGES = ("en", "de", "zh")
_KEYS = {text[0]: f"ferlib_{number}" for number, text in enumerate(TEXTS)}
TRANSLATIONS = gr.I18n(
    **{language: {_KEYS[text[0]]: text[column] for text in TEXTS} for column, language in enumerate(LANGUAGES)}
)


def webcam_words() -> dict[str, dict[str, str]]:
    """The webcam's texts by language and by what they are in English."""
    others = list(enumerate(LANGUAGES))[1:]
    return {language: {text[0]: text[column] for text in WEBCAM_TEXTS} for column, language in others}


def say(english: str) -> I18nData | str:
    """A text for a component of the page: in the browser's language where there is a translation."""
    return TRANSLATIONS(_KEYS[english]) if english in _KEYS else english
