"""Everyday words of English and other languages: enough to notice that a reply is not English.

Data, not logic. Words are lower case; a language's list may share words with others.
"""

from __future__ import annotations


def wordset(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_ENGLISH = """
the a an and or but if of to in on at for with from by as is are was were be been am i you he she it
we they him her us them my your his its our their this that these those not no do does did have has
had will would can could should may might must so then than there here what which who how when where
why all any some more most very just about into out up down over again also only i'm can't don't
won't it's that's me isn't you're i'll i'd let's
"""

_OTHERS = {
    "German": """
der die das den dem des und ist sind nicht ich ein eine einen einem einer mir mich sie wir ihr
ihnen dir dich kann können kannst zu mit auf für von es tut wenn aber auch wie nach bei zum zur
oder dabei damit hier wird werden haben hat alles dann dass man noch schon sehr kein keine etwas
machen mach müssen musst danach geht nein ja leider leid zuerst erst darf dürfen diese dieser
dieses bitte nimm warte langsam helfen hilfe war als im am um so nur doch über unter wo was wer
""",
    "French": """
le la les de du des un une et est sont je ne pas vous nous tu il elle on pour dans que qui sur
avec ce cette ces au aux mais peux peut puis sans d'abord ensuite voici tout tous très faire être
avez avoir comme bien sûr plus ou où si se sa son ses désolé pourrais votre vos cela ça c'est j'ai
je puis aider merci oui non alors aussi prends prenez il faut
""",
    "Spanish": """
el la los las un una unos y e o de del al en por para con no que se su sus como pero si puedo
puede es está son lo le les más esta este eso esto siento primero luego sobre ser ayudarte aquí
todo después muy hay tiene hacer así mi tu te me ya yo usted gracias ni sin cuando porque entonces
lamento necesitas
""",
    "Portuguese": """
o a os as um uma e de do da dos das em no na nos nas por para com não que se seu sua como mas
posso pode é está são isso este esta esse desculpe eu você ajudar aqui tudo depois muito tem ser
fazer mais já também ou ao primeiro sinto lamento com pelo pela então
""",
    "Italian": """
il lo la i gli le un una e di del della dei che non per con su sono è mi ti si questo questa posso
puoi perché più nel prima poi ecco tutto dopo molto fare essere hai anche bene come ma se da al
alla dispiace aiutarti aiutare quello cosa senza o io tu lavora raccogli
""",
    "Dutch": """
de het een en van in is niet dat die ik je u kan kunnen met voor op te zijn maar ook wij we hoe
eerst dan daar mee er wel geen naar dit om bij als dit deze helpen spijt jammer nee ja uit over
moet mag wat wie alles nog
""",
    "Scandinavian": """
och att det är inte jag som på för av har kan kann till ikke og er jeg deg dig det den en ett et
med men om så hjälpa hjelpe hjælpe tyvärr beklager desværre dessverre vi du ikke på til dette
denne eller ja nei nej först først sedan mig meg
""",
    "Polish": """
nie jest na się w z to jak mogę może przepraszam że ale do i o po za od tak czy tym tego jestem
pomóc najpierw potem dla są być
""",
    "Czech": """
ne se na to je v s že ale do a jsem nemůžu nemohu vám ti tím pomoci bohužel který jak nejprve pak
není pro jsou být žiaľ nemôžem
""",
    "South Slavic": """
ne mogu ali da sam je u na za ovo to ti vam pomoći žao mi s i se što kako nije
""",
    "Romanian": """
nu pot este și pentru să sunt te cu asta îmi pare rău dar de la în pe un o mai ajuta acest
""",
    "Hungarian": """
nem a az és hogy egy ez ebben tudok segíteni sajnálom de van vagy is meg csak sajnos ezt
""",
    "Finnish": """
ei en on ja se että voi mutta minä sinua tässä auttaa olen anteeksi valitettavasti tämä kun niin
ensin sitten ole vabandust ma saa
""",
    "Turkish": """
bir ve bu için değil ben bunu olarak konuda yardımcı olamam üzgünüm ama de da çok ne edemem önce
sonra size sana var yok
""",
    "Indonesian": """
yang dan tidak saya untuk dengan ini itu bisa anda maaf adalah dari di ke membantu dalam akan tapi
tetapi pada kami dapat hal boleh pertama lalu kemudian
""",
    "Tagalog": """
ang ng mga hindi ako ko po sa na at ay ito kita paumanhin pasensya magagawa matulungan
""",
    "Swahili": """
siwezi na ya kwa ni wa hii hilo kukusaidia lakini samahani ombi katika kisha kwanza
""",
    "Latin": """
et est non possum sed cum in ad te hoc tibi adiuvare ut qui quod sunt
""",
    "Catalan": """
el la els les i no puc amb això ho que per de un una però ajudar-te em sap greu aquest
""",
    "Vietnamese": """
tôi không thể này xin lỗi và là của cho với bạn được giúp một các những
""",
    "Hindi in Latin letters": """
mujhe nahi nahin main hai ke ka ki aap aapki maaf kar mein hoon sakta sakti karo kijiye madad yeh
""",
    "Japanese in Latin letters": """
wa ga wo ni no desu masu dekimasen gomen nasai sumimasen watashi sore kore kudasai moushiwake
arimasen
""",
    "Chinese in Latin letters": """
wo ni bu neng bang ta de shi le zhe na duibuqi bùnéng wǒ nǐ bù
""",
    "Esperanto": """
mi ne povas la kaj estas vi helpi pri tio pardonu sed al
""",
    "Baltic": """
atsiprašau negaliu padėti ir tai es nevaru palīdzēt ar šo jums bet
""",
    "Welsh": """
mae'n ddrwg gen i ni allaf helpu yn y gyda hynny
""",
    "Afrikaans": """
ek kan nie jou daarmee help jammer maar dit is die met en van
""",
}

ENGLISH = wordset(_ENGLISH)
"""English function words."""
LANGUAGES: dict[str, frozenset[str]] = {name: wordset(listed) for name, listed in _OTHERS.items()}
"""Everyday words of other languages."""
SHARED = wordset("no a i me in an on do so as he is was we to of had over all am at her")
"""English function words that other languages use as well: they prove nothing."""
LOOKALIKES = wordset(
    "die den man hat war mit bin dan van men not tot don also will an in on to "
    "so do no is me we "
    "all as at he had of am was her i a over con pour les main ad sap sore wife per son one or "
    "and plus comma pan pot ten hay ay ha es de en la le el un e o y u v s z w j k n et ut al may "
    "mag um nag pal fin fine pie ore vice mare vase sale pie site quota bang shi us help but mate "
    "ma saa nu te da ti se si tu ne ni je ja ku po ko ka ki ke ya wa ga er ego ali sam za vi"
)
"""Words that look English, or are too short to prove a language alone."""
