package webhookport

// What a request takes in memory while it is worked on, at most and roughly: its bytes several
// times over, as text and as parsed, and what the elements of its arrays and the members of its
// objects grow to. "[0,0,…" makes a whole Container of two bytes, twice where the slice is being
// grown, also when it is refused in the end.
const (
	weightOfByte    = 4
	weightOfMember  = 128
	weightOfElement = 2 << 10
)

// weight is what the JSON text takes in memory while it is worked on. Text that is no JSON has a
// weight, too.
func weight(text []byte) int64 {
	members, elements := count(text)
	return weightOfByte*int64(len(text)) + weightOfMember*int64(members) + weightOfElement*int64(elements)
}

// count counts the members of all objects and the elements of all arrays; an empty one has one.
func count(text []byte) (members, elements int) {
	inArray := make([]bool, 0, 64) // for each level that is open
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '[':
			inArray = append(inArray, true)
			elements++
		case '{':
			inArray = append(inArray, false)
			members++
		case ']', '}':
			inArray = inArray[:max(0, len(inArray)-1)]
		case ',':
			if len(inArray) > 0 && inArray[len(inArray)-1] {
				elements++
			} else {
				members++
			}
		}
	}
	return members, elements
}
