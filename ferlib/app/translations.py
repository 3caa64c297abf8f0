"""The page's own short texts in English, German and Chinese; the browser's language chooses. Answers are in English."""

import gradio as gr
from gradio.i18n import I18nData

from ferlib.app.batch_table import MOST_FILES
from ferlib.app.films import MOST_SECONDS
from ferlib.app.html import WELCOME
from ferlib.app.notes import NOTES

TITLE = """
# Facial expressions
Choose a photo. Every face in it is found, and a neural network says which expression it takes it for, how sure it is,
and where it looked.
"""
LEAD, LEAD_DE, LEAD_ZH = (
    f"Up to {MOST_FILES} photos at once: a row for every face. Click a header to sort, a row for its details. "
    "Bad files do not stop the rest.",
    f"Bis zu {MOST_FILES} Fotos auf einmal: eine Zeile für jedes Gesicht. Ein Klick auf einen Spaltenkopf sortiert, "
    "auf eine Zeile zeigt Einzelheiten. Schlechte Dateien halten den Rest nicht auf.",
    f"一次最多 {MOST_FILES} 张照片：每张脸一行。点击表头排序，点击一行查看详情。坏文件不影响其余文件。",
)
MINUTES = f"{MOST_SECONDS / 60:.0f}"
LEAD_WITH_FILMS = f"{LEAD} Of a film, up to {MINUTES} minutes: a timeline of every face."
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
    (
        NOTES,
        """
**Ein Ausdruck auf einem Bild ist kein Gefühl.** Das Modell benennt, wonach ein Gesicht für es aussieht, nicht, was
jemand fühlt, denkt oder wie jemand ist; Menschen zeigen dasselbe Gefühl verschieden, und das Modell irrt sich. Ob es
bei manchen Gruppen von Menschen öfter irrt, wurde nicht gemessen; von solchen Modellen ist es bekannt. Beurteile damit
niemanden.

**Dein Foto** bleibt auf dem Rechner, auf dem diese Seite läuft: Es wird im Arbeitsspeicher angesehen, etwa zehn Minuten
lang behalten, damit die Seite es zeigen kann, und dann gelöscht. Nichts wird anderswohin geschickt, der Server
speichert nichts über ein Gesicht. Dein Browser behält die Tabelle vieler Fotos, ohne die Fotos, damit sie nach einem
Neuladen noch da ist; sie ist weg, wenn du diesen Tab schließt, die Liste leerst oder eine andere ansehen lässt.
""",
        """
**图片中的表情不等于感受。** 模型说的是一张脸在它看来像什么，而不是一个人感受到什么、在想什么或是怎样的人；
人们表达同一种感受的方式各不相同，模型也会出错。是否对某些人群错得更多，没有测量过；
这类模型已知会如此。请不要用它来评判任何人。

**你的照片**只留在运行本页面的机器上：在内存中查看，保留约十分钟以便页面显示，随后删除。不会发送到别处，
服务器也不存储任何关于人脸的信息。多张照片的结果表（不含照片）由你的浏览器保留，以便重新加载后仍在；
关闭此标签页、清空列表或开始查看另一批照片后即消失。
""",
    ),
    (LEAD, LEAD_DE, LEAD_ZH),
    (
        LEAD_WITH_FILMS,
        f"{LEAD_DE} Von einem Film bis zu {MINUTES} Minuten: eine Zeitleiste für jedes Gesicht.",
        f"{LEAD_ZH}影片最多看 {MINUTES} 分钟：每张脸一条时间轴。",
    ),
    (NEIGHBOURS, "## Können die Nachbarn die Antwort ändern?", "## 旁边的脸会改变答案吗？"),
    ("A photo", "Ein Foto", "照片"),
    ("Webcam", "Webcam", "摄像头"),
    ("Many photos and videos", "Viele Fotos und Videos", "多张照片和视频"),
    ("Neighbours", "Nachbarn", "旁边的脸"),
    ("About", "Info", "关于"),
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
    ("answers a second", "Antworten pro Sekunde", "次回答每秒"),
    (
        "The camera was switched off when you left it.",
        "Die Kamera wurde ausgeschaltet, als du weggegangen bist.",
        "你离开后，摄像头已关闭。",
    ),
    ("The camera was switched off.", "Die Kamera wurde ausgeschaltet.", "摄像头已关闭。"),
    ("The server does not answer.", "Der Server antwortet nicht.", "服务器没有响应。"),
    (
        "A webcam needs an address that begins with https.",
        "Eine Webcam braucht eine Adresse, die mit https beginnt.",
        "使用摄像头需要以 https 开头的地址。",
    ),
    (
        "The browser was not allowed to use a camera.",
        "Der Browser durfte keine Kamera benutzen.",
        "浏览器未获准使用摄像头。",
    ),
    ("No camera was found.", "Es wurde keine Kamera gefunden.", "没有找到摄像头。"),
    ("The camera could not be started", "Die Kamera konnte nicht gestartet werden", "无法启动摄像头"),
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
