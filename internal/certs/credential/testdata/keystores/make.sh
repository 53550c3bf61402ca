#!/bin/bash
# Makes the key stores next to this script, in an empty folder: make.sh FOLDER. Needs OpenSSL 3 with
# its legacy provider, and keytool of Java 17. Every password is changeit, except those that
# passwords.txt lists.
set -euo pipefail
mkdir -p "$1" && cd "$1"
work=$(mktemp -d)
pass=changeit

# The partner's certificates: root, issuing, and the client with an old and a renewed certificate.
issue() { # name, subject, key, CA, days, extensions
  openssl req -new -key "$3" -subj "$2" -out "$work/csr"
  openssl x509 -req -in "$work/csr" -CA "$work/$4.pem" -CAkey "$work/$4.key" -days "$5" -out "$work/$1.pem" \
    -extfile <(printf '%b' "$6") 2>/dev/null
}
ec() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:"$2" -out "$work/$1.key"; }
client='extendedKeyUsage=clientAuth\nsubjectAltName=DNS:orders.example.com'
ca='basicConstraints=critical,CA:true\nkeyUsage=keyCertSign'
ec root P-256 && ec issuing P-256 && ec client P-256 && ec other P-256
openssl req -x509 -key "$work/root.key" -subj '/O=Partner/CN=Partner Root' -days 36500 -out "$work/root.pem"
issue issuing '/O=Partner/CN=Partner Client CA' "$work/issuing.key" root 36500 "$ca"
issue client '/O=Example/CN=orders' "$work/client.key" issuing 36400 "$client"
issue old '/O=Example/CN=orders' "$work/client.key" issuing 30000 "$client"
issue other '/O=Example/CN=other' "$work/other.key" issuing 36400 "$client"
openssl req -x509 -key "$work/other.key" -subj '/CN=Stranger' -days 36500 -out "$work/stranger.pem"
cat "$work"/{client,issuing,root}.pem > "$work/whole.pem"

export_() { # name, then options; the certificates default to the whole chain
  local name=$1; shift
  local in="$work/whole.pem" key="$work/client.key" out=(-passout "pass:$pass")
  [[ " $* " == *" -in "* ]] && in=
  [[ " $* " == *" -inkey "* || " $* " == *" -nokeys "* ]] && key=
  [[ " $* " == *" -passout "* ]] && out=()
  openssl pkcs12 -export -iter 2048 ${in:+-in "$in"} ${key:+-inkey "$key"} "${out[@]}" "$@" -out "$name.p12" 2>>"$work/log"
}
password() { echo "$1.p12 $2" >> passwords.txt; }

# OpenSSL: ciphers, digests, passwords, layouts.
export_ openssl-default
export_ openssl-legacy -legacy
for cipher in RC2-40 RC2-128 RC4-40 RC4-128 2DES 3DES; do
  export_ "openssl-pbe-${cipher,,}" -legacy -keypbe "PBE-SHA1-$cipher" -certpbe "PBE-SHA1-$cipher" -macalg SHA1
done
for cipher in AES-128-CBC AES-192-CBC AES-256-CBC DES-EDE3-CBC; do
  export_ "openssl-${cipher,,}" -keypbe $cipher -certpbe $cipher
done
export_ openssl-mixed-ciphers -legacy -keypbe AES-256-CBC -certpbe PBE-SHA1-RC2-40 -macalg SHA1
for digest in SHA1 SHA224 SHA256 SHA384 SHA512; do export_ "openssl-mac-${digest,,}" -macalg $digest; done
export_ openssl-nomac -nomac
export_ openssl-nomac-legacy -nomac -legacy
export_ openssl-nomac-rc4 -nomac -legacy -keypbe PBE-SHA1-RC4-128 -certpbe PBE-SHA1-RC4-128
export_ openssl-nomac-plain -nomac -keypbe NONE -certpbe NONE
export_ openssl-nomac-plain-key -nomac -keypbe NONE
export_ openssl-nomac-plain-certificates -nomac -certpbe NONE
export_ openssl-plain -keypbe NONE -certpbe NONE
export_ openssl-plain-key -keypbe NONE
export_ openssl-plain-certificates -certpbe NONE
export_ openssl-empty-password -passout pass: && password openssl-empty-password ''
export_ openssl-empty-password-legacy -legacy -passout pass: && password openssl-empty-password-legacy ''
export_ openssl-empty-password-nomac -nomac -passout pass: && password openssl-empty-password-nomac ''
export_ openssl-empty-password-nomac-legacy -nomac -legacy -passout pass: && password openssl-empty-password-nomac-legacy ''
export_ openssl-umlaut -passout pass:Grüße && password openssl-umlaut Grüße
export_ openssl-umlaut-legacy -legacy -passout pass:Grüße && password openssl-umlaut-legacy Grüße
export_ openssl-emoji -passout pass:🔑🔑 && password openssl-emoji 🔑🔑
export_ openssl-emoji-legacy -legacy -passout pass:🔑🔑 && password openssl-emoji-legacy 🔑🔑
long=$(printf 'pass%.0s' {1..60})
export_ openssl-long-password -legacy -passout "pass:$long" && password openssl-long-password "$long"
export_ openssl-noiter -noiter -nomaciter
export_ openssl-100000-iterations -iter 100000
export_ openssl-names -name orders -caname issuing -caname root
export_ openssl-windows-attributes -LMK -name te-orders-Bücher -CSP 'Microsoft Software Key Storage Provider' -keyex
export_ openssl-keysig -keysig
cat "$work"/{client,root,issuing}.pem > "$work/in.pem"; export_ openssl-root-first -in "$work/in.pem"
cat "$work"/{root,issuing,client}.pem > "$work/in.pem"; export_ openssl-leaf-last -in "$work/in.pem"
cat "$work"/{client,issuing}.pem > "$work/in.pem"; export_ openssl-no-root -in "$work/in.pem"
export_ openssl-leaf-alone -in "$work/client.pem"
cat "$work"/{whole,stranger}.pem > "$work/in.pem"; export_ openssl-stranger -in "$work/in.pem"
cat "$work"/{old,client,issuing,root}.pem > "$work/in.pem"; export_ openssl-renewed -in "$work/in.pem"
cat "$work"/{client,old,issuing,root}.pem > "$work/in.pem"; export_ openssl-renewed-first -in "$work/in.pem"
cat "$work"/{whole,client}.pem > "$work/in.pem"; export_ openssl-leaf-twice -in "$work/in.pem"
export_ openssl-other-certificate -nokeys -in "$work/whole.pem"

# Key types. Each has a certificate of the partner, or of itself if OpenSSL can't request one.
typed() { # name, key file
  if openssl req -new -key "$2" -subj "/CN=$1" -out "$work/csr" 2>/dev/null; then
    openssl x509 -req -in "$work/csr" -CA "$work/issuing.pem" -CAkey "$work/issuing.key" -days 36400 -out "$work/t.pem" 2>/dev/null
  else
    openssl pkey -in "$2" -pubout -out "$work/t.pub"
    openssl x509 -new -force_pubkey "$work/t.pub" -subj "/CN=$1" -CA "$work/issuing.pem" -CAkey "$work/issuing.key" \
      -days 36400 -out "$work/t.pem"
  fi
  export_ "key-$1" -inkey "$2" -in "$work/t.pem"
}
for curve in P-224 P-256 P-384 P-521 prime192v1 secp256k1 secp224k1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 \
  brainpoolP256t1 sect283k1 sect571r1 SM2; do
  ec typed $curve && typed "ec-${curve,,}" "$work/typed.key"
done
for curve in P-256 P-521 brainpoolP256r1; do
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:$curve -pkeyopt ec_param_enc:explicit -out "$work/typed.key"
  typed "ec-explicit-${curve,,}" "$work/typed.key"
done
for bits in 1024 2048 3072; do
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:$bits -out "$work/typed.key" && typed "rsa-$bits" "$work/typed.key"
done
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3 -out "$work/typed.key" \
  && typed rsa-three-primes "$work/typed.key"
openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out "$work/typed.key" && typed rsa-pss "$work/typed.key"
for type in ED25519 ED448 X25519 X448; do
  openssl genpkey -algorithm $type -out "$work/typed.key" && typed "${type,,}" "$work/typed.key"
done
openssl dsaparam -out "$work/dsa.pem" 2048 2>/dev/null && openssl genpkey -paramfile "$work/dsa.pem" -out "$work/typed.key"
typed dsa "$work/typed.key"
openssl genpkey -algorithm DH -pkeyopt dh_param:ffdhe2048 -out "$work/typed.key" && typed dh "$work/typed.key"
# An RSA key that is fine, with a certificate of a CA on a curve that isn't.
ec curved brainpoolP256r1
openssl req -x509 -key "$work/curved.key" -subj '/CN=Curved CA' -days 36500 -out "$work/curved.pem"
issue strange '/O=Example/CN=orders' "$work/client.key" curved 36400 "$client"
cat "$work"/{strange,curved}.pem > "$work/in.pem"; export_ key-of-a-ca-on-another-curve -in "$work/in.pem"

# Refused by their cipher or digest.
for cipher in CAMELLIA-128-CBC CAMELLIA-192-CBC CAMELLIA-256-CBC ARIA-128-CBC ARIA-192-CBC ARIA-256-CBC SM4-CBC; do
  export_ "cipher-${cipher,,}" -keypbe $cipher -certpbe $cipher
done
for cipher in SEED-CBC DES-CBC RC2-CBC BF-CBC CAST5-CBC IDEA-CBC PBE-MD5-DES PBE-MD5-RC2-64 PBE-SHA1-DES PBE-SHA1-RC2-64; do
  export_ "cipher-${cipher,,}" -legacy -keypbe $cipher -certpbe $cipher || rm -f "cipher-${cipher,,}.p12"
done
export_ cipher-nomac -nomac -keypbe CAMELLIA-256-CBC -certpbe CAMELLIA-256-CBC
export_ cipher-of-certificates -certpbe ARIA-256-CBC
for digest in MD5 RIPEMD160 SHA512-224 SHA512-256 SHA3-224 SHA3-256 SHA3-384 SHA3-512 SM3 BLAKE2b512; do
  export_ "mac-${digest,,}" -legacy -macalg $digest || rm -f "mac-${digest,,}.p12"
done

# Refused by what they hold.
export_ holds-no-key -nokeys -in "$work/whole.pem"
openssl pkcs12 -export -iter 2048 -nocerts -inkey "$work/client.key" -passout "pass:$pass" -out holds-no-certificate.p12
openssl pkcs12 -export -iter 2048 -in "$work/whole.pem" -inkey "$work/client.key" -twopass -out holds-two-passwords.p12 \
  2>>"$work/log" <<< $'changeit\nchangeit\nother\nother' || rm -f holds-two-passwords.p12

# keytool.
import() { # name, then options
  local name=$1; shift
  keytool -importkeystore -noprompt -srckeystore openssl-names.p12 -srcstoretype PKCS12 -srcstorepass $pass \
    -destkeystore "$name" -deststoretype PKCS12 -deststorepass $pass "$@" 2>/dev/null
}
J=-J-Dkeystore.pkcs12
iterations=($J.certPbeIterationCount=2048 $J.keyPbeIterationCount=2048 $J.macIterationCount=2048)
import keytool-default.p12
import keytool-legacy.p12 -J-Dkeystore.pkcs12.legacy
import keytool-nomac.p12 "${iterations[@]}" $J.macAlgorithm=NONE
import keytool-nomac-plain-certificates.p12 "${iterations[@]}" $J.macAlgorithm=NONE $J.certProtectionAlgorithm=NONE
import keytool-plain-certificates.p12 "${iterations[@]}" $J.certProtectionAlgorithm=NONE
for digest in SHA1 SHA224 SHA256 SHA384 SHA512; do
  import keytool-mac-${digest,,}.p12 "${iterations[@]}" $J.macAlgorithm=HmacPBE$digest
done
for prf in SHA1 SHA224 SHA256 SHA384 SHA512; do
  for aes in 128 256; do
    algorithm=PBEWithHmac${prf}AndAES_$aes
    import keytool-${prf,,}-aes-$aes.p12 "${iterations[@]}" $J.certProtectionAlgorithm=$algorithm $J.keyProtectionAlgorithm=$algorithm
  done
done
for old in RC2_40 RC2_128 RC4_40 RC4_128 DESede; do
  import keytool-sha1-${old,,}.p12 "${iterations[@]}" $J.certProtectionAlgorithm=PBEWithSHA1And$old $J.keyProtectionAlgorithm=PBEWithSHA1And$old
done
import keytool-md5-des.p12 "${iterations[@]}" $J.certProtectionAlgorithm=PBEWithMD5AndDES $J.keyProtectionAlgorithm=PBEWithMD5AndDES || rm -f keytool-md5-des.p12
import keytool-umlaut-alias.p12 "${iterations[@]}" -srcalias orders -destalias Bücher
cp keytool-default.p12 keytool-with-trusted.p12
keytool -importcert -noprompt -keystore keytool-with-trusted.p12 -storepass $pass -alias stranger -file "$work/stranger.pem" 2>/dev/null
cp keytool-default.p12 keytool-with-secret.p12
keytool -genseckey -keystore keytool-with-secret.p12 -storepass $pass -alias secret -keyalg AES -keysize 128 2>/dev/null
keytool -genseckey -keystore holds-a-secret.p12 -storetype PKCS12 -storepass $pass -alias secret -keyalg AES -keysize 128 2>/dev/null
keytool -importcert -noprompt -keystore holds-trust.p12 -storetype PKCS12 -storepass $pass -alias ca -file "$work/root.pem" 2>/dev/null
cp keytool-default.p12 holds-two-keys.p12
keytool -genkeypair -keystore holds-two-keys.p12 -storepass $pass -alias two -keyalg EC -groupname secp256r1 -dname CN=two 2>/dev/null
cp holds-two-keys.p12 holds-three-keys.p12
keytool -genkeypair -keystore holds-three-keys.p12 -storepass $pass -alias three -keyalg RSA -keysize 2048 -dname CN=three 2>/dev/null
import java.jks -deststoretype JKS
import java.jceks -deststoretype JCEKS

# PKCS#7.
openssl crl2pkcs7 -nocrl -certfile "$work/whole.pem" -outform DER -out bundle.p7b
openssl crl2pkcs7 -nocrl -certfile "$work/whole.pem" -out bundle-pem.p7b
sed 's/PKCS7/CERTIFICATE/' bundle-pem.p7b > bundle-adcs.cer
sed 's/PKCS7/CMS/' bundle-pem.p7b > bundle-cms.pem
openssl crl2pkcs7 -nocrl -outform DER -out bundle-empty.p7b
cat "$work"/client.key "$work"/whole.pem > keystore.pem
openssl pkcs8 -topk8 -in "$work/client.key" -passout pass:$pass -v2prf hmacWithSHA512 | cat - "$work/whole.pem" > keystore-encrypted.pem
openssl pkcs8 -topk8 -in "$work/client.key" -passout pass:$pass -scrypt -out "$work/scrypt.key"
cp "$work/scrypt.key" key-scrypt.pem
rm -r "$work"
