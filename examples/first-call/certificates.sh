#!/bin/sh
# Makes the certificates of the tutorial "First call" in the folder certificates: one CA and a
# certificate for the partner's server, another CA and a certificate for the client.
set -eu
mkdir -p certificates
cd certificates

ca() { # FILE NAME
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$2" -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

certificate() { # FILE NAME CA EXTENSIONS
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  printf '%b' "$4" > "$1.ext"
  openssl x509 -req -days 30 -in "$1.csr" -CA "$3.crt" -CAkey "$3.key" -CAcreateserial -extfile "$1.ext" -out "$1.crt" 2>/dev/null
  rm "$1.csr" "$1.ext"
}

ca server-ca "Partner Server CA"
certificate server partner.example.com server-ca 'subjectAltName=DNS:partner.example.com\nextendedKeyUsage=serverAuth\n'
ca client-ca "Partner Client CA"
certificate client shop client-ca 'subjectAltName=DNS:shop.example.com\nextendedKeyUsage=clientAuth\n'
ls
