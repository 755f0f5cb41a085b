"""Parts of patterns that several kinds of rules share: people, and what is done to them with what."""

from __future__ import annotations

ADVERB = (
    r"(?:(?:just|really|only|still|even|always|sometimes|often|also|so|actually|seriously|honestly|"
    r"soon|now|then|again) )*"
)
PARENT = r"(?:dad|father|mum|mother|parents?|step-?dad|step-?father|step-?mum|step-?mother|foster \w+)"
KIN = r"(?:uncle|aunt|grandpa|grandfather|granddad|grandma|cousin|coach|teacher|priest|trainer|babysitter)"
PARTNER = r"(?:husband|wife|boyfriend|girlfriend|partner|fianc[eé]e?|ex(?:-?\w+)?|spouse|man)"
KEEPER = r"(?:boss|manager|carer|caregiver|nurse|landlord|employer|pimp|supervisor)"
CHILD = (
    r"(?:baby|newborn|infant|toddler|child|children|kids?|son|daughter|niece|nephew|boys?|girls?|"
    r"grandson|granddaughter|twins|pupil)"
)
FOLK = (
    r"(?:mother|father|mum|dad|brother|sister|friend|wife|husband|boss|manager|neighbour|neighbor|"
    r"roommate|flatmate|girlfriend|"
    r"boyfriend|partner|ex|classmates?|teacher|colleagues?|family|parents?|uncle|aunt|cousin|"
    r"grandmother|grandma|grandfather)"
)
PERSON = (
    r"(?:him|her|them|you|everyone|everybody|someone|somebody|people|(?:my|his|her|their|that|this|"
    rf"the)(?: \w+)? {FOLK}|"
    r"(?:this|that) (?:man|woman|guy|bastard|bitch)|my (?:whole )?(?:class|school|family))\b"
)
HURT = r"(?:kill|murder|stab|shoot|strangle|poison|slaughter|behead|choke|drown|attack|hurt|beat up|burn|execute)"
HURTING = r"(?:killing|murdering|stabbing|shooting|strangling|poisoning|choking|attacking|hurting)"
STRIKES = (
    r"(?:hits?|hitting|beats?|beating|beaten|punch(?:es|ed|ing)?|slaps?|slapped|slapping|kicks?|"
    r"kicked|kicking|chok(?:es?|ed|ing)|"
    r"strangl(?:es?|ed|ing)|whips?|whipped|burns?|burned|burnt|bites?)"
)
WEAPON = r"(?:gun|rifle|pistol|shotgun|knife|machete|axe|bomb)"
PILLS = r"(?:pills?|tablets?|painkillers?|medication|medicine|paracetamol|antidepressants?|xanax)"
MANY = (
    r"(?:a whole|whole|all|an entire|a box|a bottle|too many|a handful|handful|so many|every|"
    r"the entire|dozens|twenty|thirty|forty|fifty)"
)
HIGH = r"(?:roof|bridge|building|window|balcony|cliff|tower|ledge|overpass)"
YOUNG = (
    r"\bi am (?:only |just )?(?:[4-9]|1[0-7]|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"thirteen|fourteen|fifteen|sixteen|"
    r"seventeen)(?: years old)?\b|\b(?:[1-9]|1[01])(?:st|nd|rd|th) grade\b"
)
