package pfx_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/internal/certs/pfx"
)

func TestToDER(t *testing.T) {
	const strange, short = "pfx: neither DER nor the BER that PKCS#12 files are written in", "unexpected EOF"
	// The values are in hexadecimal, with blanks for readability.
	nested := func(levels int, begin, within, end string) string {
		return strings.Repeat(begin, levels) + within + strings.Repeat(end, levels)
	}
	type result struct{ DER, Rest, Err string }
	tests := map[string]struct {
		ber  string
		want result
	}{
		"DER":                        {ber: "30 08 020103 a0030c0141", want: result{DER: "3008020103a0030c0141"}},
		"what lies behind it":        {ber: "0500 ffff", want: result{DER: "0500", Rest: "ffff"}},
		"an indefinite length":       {ber: "3080 020103 0000", want: result{DER: "3003020103"}},
		"an empty indefinite length": {ber: "3080 0000", want: result{DER: "3000"}},
		"indefinite lengths, nested": {
			ber:  "3080 a080 3180 0500 0000 0000 0000 04",
			want: result{DER: "3006a00431020500", Rest: "04"},
		},
		"indefinite within definite": {ber: "3006 3080 0500 0000", want: result{DER: "300430020500"}},
		"definite within indefinite": {ber: "3080 3002 0500 0000", want: result{DER: "300430020500"}},
		"lengths longer than need be": {
			ber:  "308400000009 02810103 0482000141",
			want: result{DER: "3006020103040141"},
		},
		"a length that needs two bytes": {
			ber:  "3080 0483000080" + strings.Repeat("41", 128) + " 0000",
			want: result{DER: "308183048180" + strings.Repeat("41", 128)},
		},
		"a string in pieces":           {ber: "2480 040141 0400 04024243 0000", want: result{DER: "0403414243"}},
		"a string in no pieces":        {ber: "2480 0000", want: result{DER: "0400"}},
		"a string in pieces in pieces": {ber: "2480 2406 040141 040142 040143 0000", want: result{DER: "0403414243"}},
		"pieces of a definite length":  {ber: "2406 040141 040142", want: result{DER: "04024142"}},
		"encrypted content in pieces": {
			ber:  "3080 060101 3000 a080 040141 040142 0000 0000",
			want: result{DER: "3009060101300080024142"},
		},
		"encrypted content in one": {
			ber: "3080 060101 3000 800141 0000",
			want: result{
				DER: "30080601013000800141",
			},
		},
		"explicitly tagged content": {
			ber:  "3080 060101 a080 2480 040141 0000 0000 0000",
			want: result{DER: "3008060101a003040141"},
		},
		"encrypted content of no string": {ber: "3080 060101 3000 a080 020103 0000 0000", want: result{Err: strange}},
		"no string among the pieces":     {ber: "2480 040141 020103 0000", want: result{Err: strange}},
		"a text in pieces":               {ber: "2c80 0c0141 0000", want: result{Err: strange}},
		"an integer in pieces":           {ber: "2203 020103", want: result{Err: strange}},
		"a sequence in one":              {ber: "1003 020103", want: result{Err: strange}},
		"a tag of two bytes":             {ber: "1f21 00", want: result{Err: strange}},
		"an end where none is due":       {ber: "3002 0000", want: result{Err: strange}},
		"an end with content":            {ber: "3080 000100 0000", want: result{Err: strange}},
		"a primitive without a length":   {ber: "0480 41 0000", want: result{Err: strange}},
		"the length that is reserved":    {ber: "30ff 00", want: result{Err: strange}},
		"longer than what it lies in":    {ber: "3003 020241 41", want: result{Err: strange}},
		"nothing":                        {ber: "", want: result{Err: short}},
		"a tag alone":                    {ber: "30", want: result{Err: short}},
		"a length in part":               {ber: "308201", want: result{Err: short}},
		"content in part":                {ber: "3003 0201", want: result{Err: short}},
		"no end":                         {ber: "3080 020103", want: result{Err: short}},
		"half an end":                    {ber: "3080 020103 00", want: result{Err: short}},
		"a length of 4 GiB":              {ber: "3084ffffffff 00", want: result{Err: short}},
		"a length beyond all memory":     {ber: "3088ffffffffffffffff 00", want: result{Err: strange}},
		"32 levels":                      {ber: nested(31, "3080", "3000", "0000"), want: result{DER: derNested(31)}},
		"33 levels":                      {ber: nested(32, "3080", "3000", "0000"), want: result{Err: strange}},
		"100,000 levels":                 {ber: nested(100_000, "3080", "", "0000"), want: result{Err: strange}},
		"100,000 levels without an end":  {ber: nested(100_000, "3080", "", ""), want: result{Err: strange}},
		"100,000 strings in pieces":      {ber: nested(100_000, "2480", "", "0000"), want: result{Err: strange}},
		"a string in 100,000 pieces, in a piece 30 times": {
			ber:  nested(31, "2480", strings.Repeat("040141", 100_000), "0000"),
			want: result{DER: "04830186a0" + strings.Repeat("41", 100_000)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ber, err := hex.DecodeString(strings.ReplaceAll(test.ber, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			der, rest, err := pfx.ToDER(ber)
			got := result{DER: hex.EncodeToString(der), Rest: hex.EncodeToString(rest)}
			if err != nil {
				got.Err = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%.2000s", diff)
			}
		})
	}
}

// derNested returns an empty sequence nested in other sequences.
func derNested(levels int) string {
	value := []byte{0x30, 0}
	for range levels {
		value, _ = asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: value})
	}
	return hex.EncodeToString(value)
}

// isDER reports whether content is a sequence of DER values with tags of PKCS#12 and without
// constructed octet strings, according to encoding/asn1.
func isDER(content []byte) bool {
	var identifiers []byte
	for len(content) > 0 {
		// An EXPLICIT tag in another structure can't be distinguished from the IMPLICIT [0] of an
		// EncryptedContentInfo.
		if identifiers = append(identifiers, content[0]); string(identifiers) == "\x06\x30\xa0" {
			return false
		}
		var value asn1.RawValue
		rest, err := asn1.Unmarshal(content, &value)
		if err != nil || value.Class == asn1.ClassUniversal &&
			value.IsCompound != (value.Tag == asn1.TagSequence || value.Tag == asn1.TagSet) ||
			value.Tag >= 0x1f ||
			value.IsCompound && !isDER(value.Bytes) {
			return false
		}
		content = rest
	}
	return true
}

// FuzzToDER checks that the output is DER for encoding/asn1, that converting it again doesn't
// change it, and that DER input is returned unchanged.
func FuzzToDER(f *testing.F) {
	files, err := filepath.Glob("../credential/testdata/pkcs12/*.p12")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(content)
		if _, inner, found := bytes.Cut(content, []byte{0x24, 0x80, 0x04, 0x82}); found {
			f.Add(inner[2:])
		}
	}
	for _, seed := range []string{"\x30\x80\x06\x01\x01\x30\x00\xa0\x80\x04\x01A\x04\x00\x00\x00\x00\x00",
		"\x24\x80\x24\x03\x04\x01A\x04\x82\x00\x01B\x00\x00", "\x30\x84\xff\xff\xff\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, ber []byte) {
		der, rest, err := pfx.ToDER(ber)
		if err != nil {
			if der != nil {
				t.Errorf("%x next to %v", der, err)
			}
			return
		}
		if !bytes.HasSuffix(ber, rest) || !isDER(der) {
			t.Errorf("%x is no DER, or %x not what lies behind", der, rest)
		}
		again, more, err := pfx.ToDER(der)
		if err != nil || len(more) > 0 || !bytes.Equal(again, der) {
			t.Errorf("%x became %x, %x, %v", der, again, more, err)
		}
		if read := ber[:len(ber)-len(rest)]; isDER(read) && !bytes.Equal(der, read) {
			t.Errorf("DER %x became %x", read, der)
		}
	})
}
