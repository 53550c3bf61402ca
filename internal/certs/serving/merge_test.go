package serving

import (
	"bytes"
	"crypto/x509/pkix"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mtls.egress/webhook/test/pki"
)

// moment returns the current time in these tests.
func moment() time.Time { return time.Date(2026, time.July, 1, 12, 0, 0, 0, time.UTC) }

// ourCA returns a CA with our name, which is valid for a year.
func ourCA(tb testing.TB, birth time.Time) *pki.CA {
	tb.Helper()
	return pki.SelfSigned(tb, pki.Template{
		Subject: pkix.Name{
			CommonName: CACommonName,
		},
		IsCA:      true,
		NotBefore: birth,
		NotAfter:  birth.Add(DefaultCADuration),
	})
}

func TestMergeBundle(t *testing.T) {
	now := moment()
	day := 24 * time.Hour
	newest, older, oldest := ourCA(t, now), ourCA(t, now.Add(-100*day)), ourCA(t, now.Add(-200*day))
	expired := ourCA(t, now.Add(-366*day))
	lastSecond := ourCA(t, now.Add(-DefaultCADuration))
	ahead := ourCA(t, now.Add(time.Minute))
	foreign := pki.NewCA(t, "Somebody else's CA")
	leaf := newest.Issue(t, pki.Template{Subject: pkix.Name{CommonName: CACommonName}})
	many := make([][]byte, 0, 2*maxCAs)
	for age := range 2 * maxCAs {
		many = append(many, ourCA(t, now.Add(-time.Duration(age+1)*day)).CertPEM)
	}

	tests := map[string]struct {
		current []byte
		ca      []byte
		want    []byte
	}{
		"an empty bundle gets the CA": {ca: newest.CertPEM, want: newest.CertPEM},
		"a placeholder is replaced": {
			current: []byte("\n"),
			ca:      newest.CertPEM,
			want:    newest.CertPEM,
		},
		"the CA that is there stays alone": {
			current: newest.CertPEM,
			ca:      newest.CertPEM,
			want:    newest.CertPEM,
		},
		"the earlier CA stays behind the new one": {
			current: older.CertPEM,
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM),
		},
		"two earlier CAs stay, in the order of age": {
			current: slices.Concat(oldest.CertPEM, older.CertPEM),
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM, oldest.CertPEM),
		},
		"a replica that still sees the old CA changes nothing": {
			current: slices.Concat(newest.CertPEM, older.CertPEM),
			ca:      older.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM),
		},
		"an expired CA leaves": {
			current: slices.Concat(newest.CertPEM, expired.CertPEM),
			ca:      newest.CertPEM,
			want:    newest.CertPEM,
		},
		"a CA in its last second stays": {
			current: lastSecond.CertPEM,
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, lastSecond.CertPEM),
		},
		"a CA of a replica whose clock is ahead stays": {
			current: ahead.CertPEM,
			ca:      newest.CertPEM,
			want:    slices.Concat(ahead.CertPEM, newest.CertPEM),
		},
		"a CA of another name stays": {
			current: slices.Concat(foreign.CertPEM, older.CertPEM),
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM, foreign.CertPEM),
		},
		"a leaf leaves, even under our name": {
			current: leaf.CertPEM,
			ca:      newest.CertPEM,
			want:    newest.CertPEM,
		},
		"a private key leaves": {
			current: slices.Concat(older.KeyPEM, older.CertPEM),
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM),
		},
		"text, order and repetition are put right": {
			current: slices.Concat([]byte("# CA\n"), older.CertPEM, newest.CertPEM, older.CertPEM),
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, older.CertPEM),
		},
		"a damaged certificate does not cost the others": {
			current: slices.Concat([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
				older.CertPEM),
			ca:   newest.CertPEM,
			want: slices.Concat(newest.CertPEM, older.CertPEM),
		},
		"a CA of the user's in the Secret is used as it is": {
			current: older.CertPEM,
			ca:      foreign.CertPEM,
			want:    slices.Concat(older.CertPEM, foreign.CertPEM),
		},
		"of too many the oldest leave": {
			current: slices.Concat(many...),
			ca:      newest.CertPEM,
			want:    slices.Concat(newest.CertPEM, slices.Concat(many[:maxCAs-1]...)),
		},
		"the CA in use stays among too many newer ones": {
			current: slices.Concat(many...),
			ca:      oldest.CertPEM,
			want:    slices.Concat(slices.Concat(many[:maxCAs-1]...), oldest.CertPEM),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MergeBundle(test.current, test.ca, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(test.want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMergeBundleNeverLeavesTheBundleWithoutAValidCA(t *testing.T) {
	now := moment()
	ca := ourCA(t, now)
	tests := map[string]struct {
		ca   []byte
		want string
	}{
		"nothing": {want: "the CA certificate is missing, expired, or not a CA"},
		"text":    {ca: []byte("text"), want: "the CA certificate is missing, expired, or not a CA"},
		"an expired CA": {
			ca:   ourCA(t, now.Add(-366*24*time.Hour)).CertPEM,
			want: "the CA certificate is missing, expired, or not a CA",
		},
		"a leaf": {
			ca:   ca.Issue(t, pki.Server("webhook.test.svc")).CertPEM,
			want: "the CA certificate is missing, expired, or not a CA",
		},
		"no X.509 in PEM": {
			ca:   []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
			want: "the CA certificate cannot be read: x509: malformed certificate",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MergeBundle(ca.CertPEM, test.ca, now)
			if got != nil || err == nil {
				t.Fatalf("got %q, %v", got, err)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReplicasAgreeOnTheBundle checks that replicas with different views converge: after each has
// written, in any order, the bundle is the same, and writing again changes nothing. Otherwise they
// would overwrite each other forever.
func TestReplicasAgreeOnTheBundle(t *testing.T) {
	now := moment()
	views := make([][]byte, 0, 5)
	for age := range cap(views) {
		views = append(views, ourCA(t, now.Add(-time.Duration(age)*time.Hour)).CertPEM)
	}
	want := slices.Concat(views...)

	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var bundle []byte
		order := slices.Concat(random.Perm(len(views)), []int{random.IntN(len(views)), random.IntN(len(views))})
		for _, view := range order {
			merged, err := MergeBundle(bundle, views[view], now)
			if err != nil {
				t.Fatal(err)
			}
			bundle = merged
		}
		if !bytes.Equal(want, bundle) {
			t.Fatalf("round %d: writing in the order %v gives another bundle", round, order)
		}
	}
}

func FuzzMergeBundle(f *testing.F) {
	now := moment()
	ca, older := ourCA(f, now), ourCA(f, now.Add(-time.Hour))
	f.Add([]byte(nil))
	f.Add(slices.Concat(older.CertPEM, ca.CertPEM))
	f.Add(slices.Concat(older.KeyPEM, []byte("text\n"), ca.CertPEM[:100]))
	f.Fuzz(func(t *testing.T, current []byte) {
		once, err := MergeBundle(current, ca.CertPEM, now)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(once, ca.CertPEM) {
			t.Error("the CA in use is not in the bundle")
		}
		if bytes.Contains(once, []byte("PRIVATE KEY")) {
			t.Error("a private key in the bundle")
		}
		twice, err := MergeBundle(once, ca.CertPEM, now)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("merging again changes the bundle: %v", err)
		}
	})
}

func BenchmarkMergeBundle(b *testing.B) {
	for _, count := range []int{1, 2, maxCAs} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			var bundle []byte
			for age := range count {
				bundle = append(bundle, ourCA(b, moment().Add(-time.Duration(age)*time.Hour)).CertPEM...)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := MergeBundle(bundle, bundle[:bytes.Index(bundle, []byte("-----END CERTIFICATE-----\n"))+26],
					moment()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
