package webhookport

// The approximate maximum memory of a request in progress. It includes its bytes several times, as
// text and parsed, and the growth of array elements and object members. "[0,0,…" creates a whole
// Container from two bytes, and twice that while the slice grows, even if the request is refused in
// the end.
const (
	weightOfByte    = 4
	weightOfMember  = 128
	weightOfElement = 2 << 10
)

// weight returns the approximate memory that the JSON text needs. It also works for invalid JSON.
func weight(text []byte) int64 {
	members, elements := count(text)
	return weightOfByte*int64(len(text)) + weightOfMember*int64(members) + weightOfElement*int64(elements)
}

// count returns the number of object members and array elements. An empty object or array counts as
// one.
func count(text []byte) (members, elements int) {
	inArray := make([]bool, 0, 64) // for each open level
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
