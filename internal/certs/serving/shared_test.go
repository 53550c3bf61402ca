package serving

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"mtls.egress/webhook/test/pki"
)

const (
	caLife   = 9 * time.Hour
	leafLife = 2 * time.Hour
	// soon is more than a retry and a check take.
	soon = 2 * time.Minute
)

// replica is a shared in a bubble of testing/synctest, whose time passes at once, with a clientset
// in place of an API server. test/serving has a real one, but no time to wait for years.
type replica struct {
	*shared
	t      *testing.T
	client *fake.Clientset
	// ahead is how far the clock of the replica is ahead, in nanoseconds.
	ahead atomic.Int64
	// refusal points to the error of each write, or is nil.
	refusal atomic.Pointer[error]
	written atomic.Int64
	// limited is whether the log says that too many CAs were made.
	limited atomic.Bool
}

func (r *replica) refuse(err error) { r.refusal.Store(&err) }

func (r *replica) accept() { r.refusal.Store(nil) }

// writes is the number of writes so far.
func (r *replica) writes() int { return int(r.written.Load()) }

// inBubble runs test with a replica. data is in the Secret before; without it, the Secret
// doesn't exist.
func inBubble(t *testing.T, data func(now time.Time) map[string][]byte, ahead time.Duration, test func(*replica)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &replica{t: t, client: fake.NewClientset()}
		r.ahead.Store(int64(ahead))
		if data != nil {
			r.store(data(time.Now()))
		}
		signed, err := newShared(r.client, Options{
			Namespace: "mtls-egress", SecretName: "ca", DNSNames: []string{servedName},
			CADuration: caLife, LeafDuration: leafLife,
			Logger: funcr.New(func(_, line string) {
				if strings.Contains(line, "too many were made") {
					r.limited.Store(true)
				}
			}, funcr.Options{}),
		}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		r.shared = signed
		r.now = func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
		for _, verb := range []string{"create", "update"} {
			r.client.PrependReactor(verb, "secrets", func(kubetesting.Action) (bool, runtime.Object, error) {
				if refusal := r.refusal.Load(); refusal != nil {
					return true, nil, *refusal
				}
				r.written.Add(1)
				return false, nil, nil
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.Start(ctx)
		}()
		r.pass(soon)
		test(r)
		cancel()
		<-ended
	})
}

func secrets() schema.GroupVersionResource { return corev1.SchemeGroupVersion.WithResource("secrets") }

func (r *replica) pass(duration time.Duration) {
	time.Sleep(duration)
	synctest.Wait()
}

func (r *replica) store(data map[string][]byte) {
	r.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "mtls-egress", Name: "ca"}, Data: data}
	err := r.client.Tracker().Update(secrets(), secret, secret.Namespace)
	if apierrors.IsNotFound(err) {
		err = r.client.Tracker().Add(secret)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) remove() {
	r.t.Helper()
	if err := r.client.Tracker().Delete(secrets(), "mtls-egress", "ca"); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) stored() map[string][]byte {
	r.t.Helper()
	secret, err := r.client.CoreV1().Secrets("mtls-egress").Get(r.t.Context(), "ca", metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret.Data
}

// serves fails unless the leaf is valid by a right clock, signed by the CA in data, and not
// overdue.
func (r *replica) serves(data map[string][]byte) *x509.Certificate {
	r.t.Helper()
	pair, err := r.GetCertificate(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(data["ca.crt"])
	check := x509.VerifyOptions{Roots: roots, DNSName: servedName, CurrentTime: time.Now()}
	if _, err := pair.Leaf.Verify(check); err != nil {
		r.t.Error(err)
	}
	if late := time.Since(renewal(pair.Leaf)); late > soon {
		r.t.Errorf("the leaf should have been renewed %s ago", late)
	}
	if !bytes.Equal(r.authorities(), data["ca.crt"]) {
		r.t.Error("the CA for the caBundle isn't that of the Secret")
	}
	return pair.Leaf
}

// born returns the data of a Secret with a CA of a certain age.
func born(t *testing.T, age time.Duration) func(time.Time) map[string][]byte {
	return func(now time.Time) map[string][]byte { return newAuthorityData(t, caLife, now.Add(-age)) }
}

func errForbidden() error {
	return apierrors.NewForbidden(corev1.Resource("secrets"), "ca", errors.New("no right"))
}

func TestCAAndLeafAreRenewedInTime(t *testing.T) {
	inBubble(t, nil, 0, func(r *replica) {
		leaves, authorities := map[string]bool{}, map[string]bool{}
		for range 10 * 6 { // ten lives of leaves and two of CAs
			data := r.stored()
			leaves[string(r.serves(data).Raw)], authorities[string(data["ca.crt"])] = true, true
			r.pass(leafLife / 6)
		}
		// 20 hours: a leaf lasts 80 minutes and a CA six hours.
		if len(leaves) < 15 || len(leaves) > 20 || len(authorities) != 4 || r.writes() != 4 {
			t.Errorf("%d leaves, %d CAs, %d writes", len(leaves), len(authorities), r.writes())
		}
	})
}

func TestACAThatIsDueIsUsedUntilANewOneIsWritten(t *testing.T) {
	inBubble(t, born(t, caLife*2/3-time.Hour), 0, func(r *replica) {
		old := r.stored()
		r.refuse(errForbidden())
		r.pass(time.Hour + leafLife)
		r.serves(old)
		r.accept()
		r.pass(soon)
		if data := r.stored(); bytes.Equal(data["ca.crt"], old["ca.crt"]) {
			t.Error("the CA is overdue")
		} else {
			r.serves(data)
		}
	})
	t.Run("by a replica that starts", func(t *testing.T) {
		inBubble(t, born(t, caLife*2/3+time.Minute), 0, func(r *replica) {
			if r.writes() != 1 {
				t.Errorf("%d writes, want a new CA", r.writes())
			}
			r.serves(r.stored())
		})
	})
}

func TestLeavesAreSignedWithTheLastCAWhileTheSecretHasNone(t *testing.T) {
	for name, damage := range map[string]func(*replica){
		"it is missing": (*replica).remove,
		"it is broken":  func(r *replica) { r.store(map[string][]byte{"ca.crt": []byte("text")}) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, 0, func(r *replica) {
				old := r.stored()
				r.refuse(errForbidden())
				damage(r)
				for range 6 {
					r.pass(time.Hour)
					r.serves(old)
				}
				if r.limited.Load() {
					t.Error("the log says that too many CAs were made, and not that the Secret can't be written")
				}
				r.pass(caLife)
				if pair, err := r.GetCertificate(nil); err != nil || validAt(pair.Leaf, time.Now()) == nil {
					t.Errorf("a valid leaf of an expired CA, error %v", err)
				}
				r.accept()
				r.pass(soon)
				r.serves(r.stored())
			})
		})
	}
}

func TestAClockIsSetBack(t *testing.T) {
	inBubble(t, nil, time.Hour, func(r *replica) {
		r.ahead.Store(0)
		r.pass(soon)
		r.serves(r.stored())
	})
	t.Run("after it signed with a CA that is right", func(t *testing.T) {
		inBubble(t, born(t, 0), time.Hour, func(r *replica) {
			r.ahead.Store(0)
			r.pass(soon)
			r.serves(r.stored())
			if r.writes() != 0 {
				t.Error("the CA is replaced")
			}
		})
	})
	t.Run("on another replica", func(t *testing.T) {
		inBubble(t, born(t, -time.Hour), 0, func(r *replica) { r.serves(r.stored()) })
	})
	t.Run("on another replica, by less than is tolerated", func(t *testing.T) {
		inBubble(t, born(t, -clockTolerance), 0, func(r *replica) {
			if r.writes() != 0 {
				t.Error("the CA is replaced")
			}
			if pair, err := r.GetCertificate(nil); err != nil || validAt(pair.Leaf, time.Now()) == nil {
				t.Errorf("ready before the CA is valid, error %v", err)
			}
			r.pass(clockTolerance)
			r.serves(r.stored())
		})
	})
}

func TestACAThatMayNotSignIsReplaced(t *testing.T) {
	for name, change := range map[string]func(*pki.Template){
		"for other names only": func(ca *pki.Template) { ca.PermittedDNSDomains = []string{"example.com"} },
		"no certificates":      func(ca *pki.Template) { ca.KeyUsage = x509.KeyUsageDigitalSignature },
		"clients only": func(ca *pki.Template) {
			ca.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, 0, func(r *replica) {
				r.store(userCA(t, "Corporate CA", change))
				r.pass(soon)
				if r.writes() != 2 {
					t.Errorf("%d writes, want the first CA and another one", r.writes())
				}
				r.serves(r.stored())
			})
		})
	}
}

// userCA returns the data of a Secret with a CA of a user's own.
func userCA(t *testing.T, name string, change func(*pki.Template)) map[string][]byte {
	t.Helper()
	template := pki.Template{
		Subject: pkix.Name{CommonName: name}, IsCA: true, NotBefore: time.Now(), NotAfter: time.Now().Add(caLife),
	}
	change(&template)
	ca := pki.SelfSigned(t, template)
	return secretData(ca.Pair, ca.CertPEM)
}

func TestTheCAOfAUserIsUsedWithItsChain(t *testing.T) {
	inBubble(t, nil, 0, func(r *replica) {
		data := userCA(t, "Corporate CA", func(*pki.Template) {})
		r.store(data)
		r.pass(soon)
		r.serves(data)

		chain := maps.Clone(data)
		root := userCA(t, "Corporate Root", func(*pki.Template) {})["ca.crt"]
		chain["ca.crt"] = slices.Concat(data["ca.crt"], root)
		chain["tls.crt"] = chain["ca.crt"]
		r.store(chain)
		r.pass(soon)
		r.serves(chain)
		if r.writes() != 1 {
			t.Errorf("%d writes, want none after the first CA", r.writes())
		}
	})
}

func TestAFasterReplicaWins(t *testing.T) {
	other := born(t, 0)
	inBubble(t, nil, 0, func(r *replica) {
		r.refuse(apierrors.NewAlreadyExists(corev1.Resource("secrets"), "ca"))
		r.remove()
		r.pass(time.Second)
		data := other(time.Now())
		r.store(data)
		r.pass(soon)
		r.serves(data)
	})
}

func TestNewCAsAreLimited(t *testing.T) {
	inBubble(t, nil, 0, func(r *replica) {
		const fight = 10 * time.Minute
		for end := time.Now().Add(fight); time.Now().Before(end); r.pass(time.Second) {
			if _, err := r.client.Tracker().Get(secrets(), "mtls-egress", "ca"); err == nil {
				r.remove()
			}
		}
		if most := authorityBurst + int(fight/authorityInterval) + 1; r.writes() < 3 || r.writes() > most {
			t.Errorf("%d CAs in %s, want at most %d", r.writes(), fight, most)
		}
		if !r.limited.Load() {
			t.Error("the log doesn't say that too many CAs were made")
		}
		r.pass(soon)
		r.serves(r.stored())
	})
}
