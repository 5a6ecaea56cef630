// No inline script: the page's Content-Security-Policy allows files of this server only.
window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null, // the default asks a server on the internet
});
